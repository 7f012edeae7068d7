# sockmi.so, for OpenSSL's folder of modules. It is installed in the folder below our
# libdir that corresponds to OpenSSL's folder below its own libdir.
add_library(sockmi_module MODULE openssl_module.cc)
target_link_libraries(sockmi_module PRIVATE appsockmi)
set_target_properties(sockmi_module PROPERTIES PREFIX "" OUTPUT_NAME sockmi INSTALL_RPATH "$ORIGIN/..")

pkg_get_variable(openssl_modules libcrypto modulesdir)
pkg_get_variable(openssl_libdir libcrypto libdir)
cmake_path(RELATIVE_PATH openssl_modules BASE_DIRECTORY ${openssl_libdir} OUTPUT_VARIABLE folder)
set(SOCKMI_MODULES_DIR ${CMAKE_INSTALL_LIBDIR}/${folder} CACHE INTERNAL "where sockmi.so is installed, from the prefix")
install(TARGETS sockmi_module DESTINATION ${SOCKMI_MODULES_DIR})
